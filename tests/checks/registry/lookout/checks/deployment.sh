# The base URL is the first argument.
base=${1:-http://127.0.0.1:18000}
python3 - "$base" <<'PY' || { echo "[FAIL] Config endpoint"; exit 1; }
import sys, urllib.request
sys.exit("openai_model" not in urllib.request.urlopen(sys.argv[1] + "/config").read().decode())
PY
echo "[OK] Config endpoint"
