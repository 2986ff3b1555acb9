"""The commands of `echotune`, a module a family; none imports Prefect before it has to."""
