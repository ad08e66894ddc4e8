"""The Bybit v5 protocol, contracts and spot, public and private: the wire and the venue's rules.

Sources: the venue's public documentation (July 2026) and recorded messages.
"""
