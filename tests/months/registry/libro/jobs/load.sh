cat >/data/rows.new
mv /data/rows.new /data/rows.restored
