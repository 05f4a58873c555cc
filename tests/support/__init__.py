"""What tests share: a project driven by its command line, and ids counted from source bytes."""
