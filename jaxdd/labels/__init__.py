"""Labels of a distilled set: hard, by teachers, or recorded and replayed."""
