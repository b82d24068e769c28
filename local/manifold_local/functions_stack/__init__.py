"""The functions on one machine, without Docker: the artifacts that Lambda would run, deployed by the template that AWS
would get, onto a stand-in for AWS and the servers of enterprise mode."""

from manifold_local.functions_stack.stack import FunctionsStack, running_functions_stack

__all__ = ["FunctionsStack", "running_functions_stack"]
