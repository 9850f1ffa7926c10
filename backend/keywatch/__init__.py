"""Keywatch: Sigma rules for stolen AWS keys and Bedrock abuse, and the program that converts and hunts with them."""
