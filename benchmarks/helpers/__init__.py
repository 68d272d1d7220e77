"""What several measurements share; the commands are beside this folder."""
