"""Logs that grow: their new complete lines, across rotation and truncation."""
