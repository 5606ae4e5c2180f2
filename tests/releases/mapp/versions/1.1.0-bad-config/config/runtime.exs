import Config

config :mapp,
  greeting: System.get_env("DEMO_GREETING", "hello"),
  password: System.get_env("DEMO_PASSWORD", "swordfish"),
  limit: String.to_integer(System.fetch_env!("DEMO_LIMIT")),
  added: System.get_env("DEMO_ADDED", "new")
