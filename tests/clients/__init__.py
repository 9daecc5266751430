"""Programs of docs/examples in other languages, run on the real pipeline by `make clients`; not by `make test`."""
