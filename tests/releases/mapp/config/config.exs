import Config
config :mapp, greeting: "compiled"
config :logger, level: :notice
