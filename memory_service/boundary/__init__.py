"""What a request can have wrong, found before anything is changed."""
