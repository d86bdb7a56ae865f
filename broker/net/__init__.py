"""Twisted: the only room that touches a socket or the clock."""
