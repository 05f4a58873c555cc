"""What surrounds the roles: the embedded broker and the files that machines read."""
