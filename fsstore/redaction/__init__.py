"""What must not be shown: rules, the shapes of secrets, finding and replacing them in sessions."""
