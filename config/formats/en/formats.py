"""As Django's for British English, with the time zone: "27 Nov 2026, 4:44 p.m. UTC"."""

DATETIME_FORMAT = "j M Y, P T"
