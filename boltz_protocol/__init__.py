"""What both ends must agree on, to the byte: messages, signatures, envelopes, tensors and tasks.

Pure: no clock, no files, no network.
"""
