"""Posts previews and commit statuses to GitHub and GitLab; what needs urllib3 is imported from its own module."""
