"""Tables, reports and pictures of finished runs."""
