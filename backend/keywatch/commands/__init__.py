"""The commands of the program. Each imports what it needs when it runs."""
