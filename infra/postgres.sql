-- Run once, on an empty volume; the database `mlflow` is made by the image itself.
CREATE DATABASE mlflow_auth;
CREATE DATABASE prefect;
