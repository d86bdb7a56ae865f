"""The test kit for users, used as they would."""
