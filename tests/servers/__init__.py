"""Servers that tests talk to.

``embedded_s3``  moto's S3 in a subprocess, its faults corrected, every request recorded
``record``       those requests, as data
``scripted``     a raw-socket HTTP server that answers exactly what a test scripts, faults included
``proxy``        a forward proxy, with tunnels and passwords
``nginx``        a real static server, with keep-alive and TLS, for bytes in bulk
``certificates`` a certificate authority made on the spot
"""
