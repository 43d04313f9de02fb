#!/bin/sh
# is the service up?
exec curl -fsS http://127.0.0.1:8080/health
