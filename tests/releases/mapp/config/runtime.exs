import Config

config :mapp,
  greeting: System.get_env("DEMO_GREETING", "hello"),
  password: System.get_env("DEMO_PASSWORD", "swordfish"),
  limit: 10,
  legacy: true
