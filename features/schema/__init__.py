"""The data contract as data: names, ids, validators, indexes, and the plan that makes a database keep it."""
