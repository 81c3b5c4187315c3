"""Who may call, and how calls are kept from others: tokens, rights, TLS."""
