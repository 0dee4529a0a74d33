"""The statement that looks up a machine client to issue a token."""

from __future__ import annotations

SECRET = """
select u.role, u.region, u.rate_per_s, u.disabled, s.secret_sha256
from users u join user_secret s using (id) where u.id = $1"""
