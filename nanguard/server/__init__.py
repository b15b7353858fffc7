"""The language server: what nanguard finds in saved files, in the editor."""
