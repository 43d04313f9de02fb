"""Stand-in for the backend of VNM: FastAPI on 8000, its state and its database; logs as JSON lines, with the keys
timestamp, level, logger, message and extra_fields. DEBUGGER=1 opens debugpy on 5678.

Left out on purpose: everything that the application does."""

import json
import logging
import os
import time

import psycopg2
import uvicorn
from fastapi import FastAPI, Response


class Json(logging.Formatter):
    def format(self, record):
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = getattr(record, "extra_fields", None)
        if extra:
            line["extra_fields"] = extra
        return json.dumps(line, ensure_ascii=False)


handler = logging.StreamHandler()
handler.setFormatter(Json())
logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), handlers=[handler])
log = logging.getLogger("vnm.backend")
app = FastAPI(title="VNM Backend", version="1.0")


def database():
    return psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=3)


@app.get("/")
def root():
    log.info("GET /", extra={"extra_fields": {"ruta": "/"}})
    return {"servicio": "backend", "modo": os.environ.get("MODO", "")}


@app.get("/health")
def health(response: Response):
    try:
        with database() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM entidades")
            return {"status": "ok", "database": True, "entidades": cursor.fetchone()[0]}
    except psycopg2.Error as error:
        log.error("the database does not answer: %s", type(error).__name__, extra={"extra_fields": {"ruta": "/health"}})
        response.status_code = 503
        return {"status": "error", "database": False}


if __name__ == "__main__":
    if os.environ.get("DEBUGGER") == "1":
        import debugpy

        debugpy.listen(("0.0.0.0", 5678))
        log.debug("debugger listens", extra={"extra_fields": {"puerto": 5678}})
    log.info("backend starts", extra={"extra_fields": {"modo": os.environ.get("MODO", "")}})
    # the library's own lines would not be JSON
    uvicorn.run(app, host="0.0.0.0", port=8000, log_config=None, access_log=False)
