defmodule Mapp.V2 do
  # The state of Mapp.Server since 1.1.0: {:v2, count, bumps_since_upgrade}; here the migration raises.
  def show({:v2, n, _}), do: "v2 #{n}"

  def migrate({:v1, _}), do: raise("cannot migrate")

  def ready, do: true
end
