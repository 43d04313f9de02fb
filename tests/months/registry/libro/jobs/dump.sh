cat /data/rows
