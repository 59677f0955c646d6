"""Translating the state of one optimizer into that of another."""
