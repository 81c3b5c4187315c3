"""Pictures and tables of finished rollouts; reads only the files that rollouts leave."""
