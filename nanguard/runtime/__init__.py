"""Losses rewritten while a program runs."""
