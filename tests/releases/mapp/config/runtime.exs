import Config
config :mapp, greeting: System.get_env("DEMO_GREETING", "hello")
