"""The HTML report, in stages: what a finding is about (subject), its error plots (sample, plot), and the page.

`drawn` has the data between them; `svg`, `parts` and `page` turn it into one self-contained file.
"""
