"""Config, plan, store, engines, export, report and command line."""
