"""Whether projects are whole: looked at on request, by jobs and every night, and what is known to be damaged."""
