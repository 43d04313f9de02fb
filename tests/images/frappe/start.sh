#!/bin/bash
# Stand-in. The real one starts gunicorn on :8000.
echo "Booting the stand-in of Gunicorn with ${GUNICORN_WORKERS:-2} workers and ${GUNICORN_THREADS:-4} threads..."
exec python3 /opt/bench/web.py backend
