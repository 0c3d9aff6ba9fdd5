# Marks its phases: each is in the run with what it cost. Run it with: mlflow-sysmetrics run -- sh phases.sh
set -e
mlflow-sysmetrics phase make
python -c "open('numbers', 'w').writelines(f'{n}\n' for n in range(1_000_000))"
mlflow-sysmetrics phase sort
sort -rn numbers > sorted
mlflow-sysmetrics phase --end
rm numbers sorted
