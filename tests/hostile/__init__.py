"""Files, names and numbers that mean harm: what SECURITY.md promises about each."""

NASTY = {
    "html": "<script>alert(1)</script>",
    "cell": "=cmd|' /C calc'!A0",
    "link": "[x](javascript:alert(1))",
    "plus": "+1",
    "at": "@SUM(A1)",
    "pipe": "a|b",
    "image": "<img src=x onerror=alert(1)>",
}
