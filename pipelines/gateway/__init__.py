"""The front door: people and programs ask by OpenAI's API, with keys, limits and budgets.

Doors: `server` (what `gateway` runs), `process` (what `serve` holds), `keys` and `database`. It
asks the assistant through serving's door, and keeps keys, accounts and requests in a database of
its own. fastapi, uvicorn, limits and joserfc are imported only here.
"""
