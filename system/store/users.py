"""Machine clients: what the sign-in looks up."""

from __future__ import annotations

SECRET = """
select u.role, u.region, u.rate_per_s, u.disabled, s.secret_sha256
from users u join user_secret s using (id) where u.id = $1"""
