"""How the state of jobs and workers looks to a person. Pure: records in, text and rich renderables out."""
