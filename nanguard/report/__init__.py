"""The formats a report is written in: one small module each, with a `render`."""
