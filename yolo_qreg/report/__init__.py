"""What was found, shown: tables as data with one renderer for each form, figures, and pages from templates."""
