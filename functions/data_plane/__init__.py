"""The part of the API that lets clients read and store content by themselves, served by the API application and by the
checkout and commit functions alike: the shapes of requests and answers, and what is done with them."""
