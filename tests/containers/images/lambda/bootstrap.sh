#!/bin/sh
# Layers come before the runtime's own packages.
export PYTHONPATH="/var/task:/opt/python${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m awslambdaric "$_HANDLER"
