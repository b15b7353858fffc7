"""Cache: the results of files that have not changed since, so that a second run reads and runs nothing.

An entry names everything that its result depends on: the file, the files of the project that were read, imported or
looked for in vain, and the packages that are installed.  It is used only if all of that is as it was.
"""
