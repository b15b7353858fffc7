"""Configuration: what a project's file, the environment and the command line ask for, put together."""
