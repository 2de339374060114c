"""The benchmark of a user's own bucket: which reader and which settings suit it, from here.

``command``   the command line: arguments, errors, output
``objects``   what there is to read under a prefix
``candidates`` reader, part size and connections that are tried together
``loads``     how each reader reads, endlessly
``trial``     one candidate at work for a moment, measured
``search``    which candidates are tried, and which again, in turn, until the time is over
``advice``    what follows, and whether it is more than noise
``report``    the table, the same as JSON, and the bar
"""
