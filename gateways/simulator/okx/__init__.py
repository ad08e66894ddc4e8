"""The OKX v5 protocol, public and private: what goes over the wire, and the venue's rules.

Sources: the venue's public documentation (spring to autumn 2026) and recorded messages.

====================  =============================================================
``dialect``           channels, routes and limits as data
``rules``             fees, order limits, the price band, request limits
``codes``             the venue's codes and words
``parameters``        the fields of a private request
``access``            signatures, times and passphrases
``shapes``            orders, fills, balances and positions as JSON
``orders``            placing, amending, canceling: REST and WebSocket
``algo``              trigger and conditional orders (shapes: ``algo_shapes``)
``trade_rest``        queries for orders and fills, close-position, cancel-all-after
``account_rest``      balances, positions, settings, bills (written by ``bills``)
``private_rest``      the private endpoints: authentication, limits, faults
``private_streams``   the private channels
``session``           one WebSocket connection
``rest``, ``streams`` the public side
``venue``             all of it on the server
====================  =============================================================

Not simulated: options, futures with a date, margin on spot, ``oco`` and trailing orders, stop
orders attached to others, closed positions, leverage of cross and isolated margin apart.
"""
