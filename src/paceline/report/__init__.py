"""The report: text, picture and page, drawn from results and findings. Nothing here times or starts anything."""
